// Token-level distillation into a softmax student (Wang et al. 2020, equation 4).
// With the stores of CRF teachers it is the case CRF → MaxEnt of Wang et al. 2021.
(import 'softmax.jsonnet') {
  stores:: 'runs/stores',
  objective:: { type: 'posterior' },
}
