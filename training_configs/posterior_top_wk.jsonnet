// Pos.+Top-WK: the average of both (Wang et al. 2020).
(import 'baseline.jsonnet') {
  options+:: ['k'],
  k:: 5,

  stores:: 'runs/stores',
  objective:: {
    type: 'weighted_sum',
    objectives: [{ type: 'posterior' }, { type: 'k_best', k: $.k, weighted: true }],
    weights: [0.5, 0.5],
  },
}
