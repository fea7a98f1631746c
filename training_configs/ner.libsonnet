// Entities from column files, one word and one tag a line: spans in BIO.
{
  corpus:: 'fixtures/ner',
  languages:: ['de', 'en', 'es', 'ru'],
  types:: ['PER', 'LOC', 'ORG'],
  file(language, split):: '%s/%s/%s.conll' % [self.corpus, language, split],

  reader:: { type: 'structkd_column', scheme: 'BIO', labels: $.labels },
  labels:: ['O'] + [prefix + type for type in self.types for prefix in ['B-', 'I-']],
  label_encoding:: 'BIO',
  validation_metric:: '+f1/macro',
}
