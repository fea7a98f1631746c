// The multilingual softmax tagger: the baseline without transitions.
(import 'baseline.jsonnet') {
  transitions:: 'none',
}
