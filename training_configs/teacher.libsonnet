// A teacher: one language, and larger than a student. Each teacher_LANGUAGE.jsonnet names its language.
(import 'base.libsonnet') {
  options+:: ['language'],
  language:: error 'set `language`, for instance  (import "teacher.libsonnet") { language:: "en" }',
  task:: import 'upos.libsonnet',
  languages:: [self.language],

  word_size:: 96,
  character_size:: 64,
  hidden_size:: 96,
  epochs:: 15,
}
