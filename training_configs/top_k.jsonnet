// Top-K: the teacher's K best labellings, all alike (Wang et al. 2020, equation 8).
(import 'baseline.jsonnet') {
  options+:: ['k'],
  k:: 5,

  stores:: 'runs/stores',
  objective:: { type: 'k_best', k: $.k },
}
