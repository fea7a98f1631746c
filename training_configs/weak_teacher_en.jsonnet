// A weaker English teacher: it has seen a quarter of the training sentences. Any language's is made in the same way.
(import 'teacher.libsonnet') {
  language:: 'en',
  dataset_reader+: { sampling: { max_per_language: 100 } },
}
