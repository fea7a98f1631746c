// Top-WK: the teacher's K best labellings, each by its probability among them (Wang et al. 2020, equation 9).
(import 'baseline.jsonnet') {
  options+:: ['k', 'labellings', 'temperature'],
  k:: 5,
  // Of "all", or of the "legal" ones, which stores can hold (cache-teacher --k-best).
  labellings:: 'all',
  temperature:: 1.0,

  stores:: 'runs/stores',
  objective:: { type: 'k_best', k: $.k, labellings: $.labellings, weighted: true, temperature: $.temperature },
}
