// Top-WK: the teacher's K best labellings, each by its probability among them (Wang et al. 2020, equation 9).
(import 'baseline.jsonnet') {
  options+:: ['k', 'temperature'],
  k:: 5,
  temperature:: 1.0,

  stores:: 'runs/stores',
  objective:: { type: 'k_best', k: $.k, weighted: true, temperature: $.temperature },
}
