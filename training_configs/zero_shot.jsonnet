// Zero-shot: a language without gold tags, learnt from what other languages' teachers say of its raw text.
//
//   for language in de en es; do
//     allennlp cache-teacher runs/teacher_$language/model.tar.gz ru=fixtures/text/ru.txt \
//       --dataset-reader '{"type": "structkd_plain_text"}' --output runs/stores/ru_from_$language
//   done
//   allennlp train training_configs/zero_shot.jsonnet -s runs/zero_shot
//
// The other languages keep their gold tags and their own teachers, those of the README. Development data is theirs alone;
// the target's tags are used for the test and nowhere else. A teacher that shares no words or characters with the target
// has little to say of it: with the models of this folder the mechanism works, and the tags are poor. Use a multilingual
// encoder in teachers and student for more.
(import 'baseline.jsonnet') + (import 'unlabelled.libsonnet') {
  options+:: ['similarity', 'similarity_temperature', 'target', 'text'],
  target:: 'ru',
  text:: 'fixtures/text/ru.txt',
  // Yours to give, larger is more similar: 1 less a distance of lang2vec, say. All alike, all teachers count the same.
  similarity:: { de: 1, en: 1, es: 1 },
  similarity_temperature:: 1,

  languages:: std.objectFields(self.similarity),
  objective:: { type: 'posterior' },
  local weights = (import 'similarity.libsonnet').weights($.similarity, $.similarity_temperature),
  stores:: { [language]: 'runs/stores/' + language for language in $.languages } + {
    [$.target]: [
      { path: 'runs/stores/%s_from_%s' % [$.target, language], weight: weights[language] }
      for language in $.languages
    ],
  },

  unlabelled:: { [$.target]: $.text },
  test_data_path+: { [$.target]: $.task.file($.target, 'test') },
}
