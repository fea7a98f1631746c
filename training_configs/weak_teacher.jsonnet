// Weaker teachers: posterior distillation where the English teacher was trained on less data than the student is.
//
//   allennlp train training_configs/weak_teacher_en.jsonnet -s runs/weak_teacher_en
//   allennlp cache-teacher runs/weak_teacher_en/model.tar.gz en=fixtures/upos/en/train.conllu --output runs/weak_stores/en
//   allennlp train training_configs/weak_teacher.jsonnet -s runs/weak_teacher
//
// The other languages' stores are those of the README. A teacher is captured on the student's sentences, not on its own.
(import 'posterior.jsonnet') {
  stores:: { [language]: 'runs/stores/' + language for language in $.languages } + { en: 'runs/weak_stores/en' },
}
