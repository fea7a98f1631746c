// Universal parts of speech from CoNLL-U files: one label for each word.
{
  corpus:: 'fixtures/upos',
  languages:: ['de', 'en', 'es', 'ru'],
  file(language, split):: '%s/%s/%s.conllu' % [self.corpus, language, split],

  reader:: { type: 'structkd_conllu', label: 'upos', labels: $.labels },
  labels:: [
    'ADJ', 'ADP', 'ADV', 'AUX', 'CCONJ', 'DET', 'INTJ', 'NOUN', 'NUM',
    'PART', 'PRON', 'PROPN', 'PUNCT', 'SCONJ', 'SYM', 'VERB', 'X',
  ],
  label_encoding:: null,
  validation_metric:: '+accuracy/macro',
}
