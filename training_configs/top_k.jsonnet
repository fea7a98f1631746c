// Top-K: the teacher's K best labellings, all alike (Wang et al. 2020, equation 8).
(import 'baseline.jsonnet') {
  options+:: ['k', 'labellings'],
  k:: 5,
  // Of "all", or of the "legal" ones, which stores can hold (cache-teacher --k-best).
  labellings:: 'all',

  stores:: 'runs/stores',
  objective:: { type: 'k_best', k: $.k, labellings: $.labellings },
}
