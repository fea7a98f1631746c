// The multilingual baseline: one CRF student of all languages that learns from gold tags alone.
(import 'base.libsonnet') {
  task:: import 'upos.libsonnet',
}
