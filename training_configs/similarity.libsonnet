// Weights for teachers of other languages, by how similar their languages are to the student's.
{
  // The softmax of `similarities` (an object: language -> number, larger is more similar) at a temperature: near 0 the
  // most similar language takes all, far above 1 all count alike. In the manner of Wu et al. 2020 (arXiv 2004.12440),
  // who weight teachers by the similarity of their languages to the target.
  weights(similarities, temperature=1)::
    assert temperature > 0 : 'the temperature of the weights is %s, but must be above 0' % temperature;
    local languages = std.objectFields(similarities);
    assert languages != [] : 'similarities of no language are given';
    local largest = std.foldl(function(most, language) std.max(most, similarities[language]), languages, -1e308);
    local masses = { [language]: std.exp((similarities[language] - largest) / temperature) for language in languages };
    local total = std.foldl(function(sum, language) sum + masses[language], languages, 0);
    { [language]: masses[language] / total for language in languages },
}
