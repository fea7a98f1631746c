// Posterior distillation: the token marginals of forward-backward (Wang et al. 2020, equation 13).
(import 'baseline.jsonnet') {
  options+:: ['temperature'],
  temperature:: 1.0,

  stores:: 'runs/stores',
  objective:: { type: 'posterior', temperature: $.temperature },
}
