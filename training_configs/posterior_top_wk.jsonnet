// Pos.+Top-WK: the average of both (Wang et al. 2020).
(import 'baseline.jsonnet') {
  options+:: ['k', 'labellings'],
  k:: 5,
  // Of "all", or of the "legal" ones, which stores can hold (cache-teacher --k-best).
  labellings:: 'all',

  stores:: 'runs/stores',
  objective:: {
    type: 'weighted_sum',
    objectives: [{ type: 'posterior' }, { type: 'k_best', k: $.k, labellings: $.labellings, weighted: true }],
    weights: [0.5, 0.5],
  },
}
