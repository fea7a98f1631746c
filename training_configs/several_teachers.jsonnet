// Several teachers for each language, averaged by their weights: here two of different seeds, the first counting double.
//
//   for language in de en es ru; do
//     allennlp train training_configs/teacher_$language.jsonnet -s runs/teacher_${language}_2 \
//       -o '{"random_seed": 2, "numpy_seed": 2, "pytorch_seed": 2}'
//     allennlp cache-teacher runs/teacher_${language}_2/model.tar.gz $language=fixtures/upos/$language/train.conllu \
//       --output runs/stores_2/$language
//   done
//   allennlp train training_configs/several_teachers.jsonnet -s runs/several_teachers
//
// The first ones are the README's. Only ratios of weights count; all 1, the default, is the plain average.
(import 'posterior.jsonnet') {
  stores:: {
    [language]: [{ path: 'runs/stores/' + language, weight: 2 }, { path: 'runs/stores_2/' + language, weight: 1 }]
    for language in $.languages
  },
}
