// The exact structural cross-entropy over all labellings (Wang et al. 2021).
(import 'baseline.jsonnet') {
  options+:: ['temperature'],
  temperature:: 1.0,

  stores:: 'runs/stores',
  objective:: { type: 'cross_entropy', temperature: $.temperature },
}
