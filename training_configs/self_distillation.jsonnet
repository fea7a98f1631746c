// Self-distillation: the moving average of the student is its teacher, and no store is needed
// (Tarvainen and Valpola 2017, with the distribution over whole labellings).
(import 'baseline.jsonnet') {
  options+:: ['decay'],
  decay:: 0.999,

  objective:: { type: 'cross_entropy' },
  // It rises: an average that is still like the student has nothing to teach.
  schedule:: { type: 'linear', start: 0.0, end: 0.5 },
  trainer+: {
    callbacks+: [{
      type: 'structkd_self_teacher',
      decay: $.decay,
      schedule: $.schedule,
    }],
  },
}
