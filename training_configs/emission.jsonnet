// Distillation of emissions, transitions ignored on both sides (Wang et al. 2020, equation 5).
(import 'baseline.jsonnet') {
  stores:: 'runs/stores',
  objective:: { type: 'emission' },
}
