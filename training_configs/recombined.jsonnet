// More sentences where there is no more text: made of the training sentences, and learnt from by what teachers say of them.
//
//   for language in de en es ru; do
//     allennlp cache-teacher runs/teacher_$language/model.tar.gz $language=fixtures/upos/$language/train.conllu --output \
//       runs/stores/$language --dataset-reader '{"type": "structkd_recombined", "sentences": 500,
//                                                "reader": {"type": "structkd_conllu", "label": null}}'
//   done
//   allennlp train training_configs/recombined.jsonnet -s runs/recombined
//
// This adds to the README's stores. `sentences`, `new_words` and `seed` of the reader must be the same here and there: they
// decide on which sentences are made. A constant schedule lets the teachers teach to the end.
(import 'posterior.jsonnet') + (import 'unlabelled.libsonnet') {
  options+:: ['sentences'],
  sentences:: 500,

  schedule:: { type: 'constant', value: 1 },
  unlabelled:: { [language]: $.task.file(language, 'train') for language in $.languages },
  // The task's own reader: of its tags nothing is used.
  unlabelled_reader:: { type: 'structkd_recombined', reader: $.task.reader, sentences: $.sentences },
}
