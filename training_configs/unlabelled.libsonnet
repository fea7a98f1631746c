// Sentences without tags beside the tagged ones, learnt from by what teachers say of them alone. To be added to any
// configuration with stores, which must have been captured from these sentences too:
//
//   allennlp cache-teacher runs/teacher_en/model.tar.gz en=more.txt --dataset-reader '{"type": "structkd_plain_text"}' \
//     --output runs/stores/en
//
//   (import 'posterior.jsonnet') + (import 'unlabelled.libsonnet') { unlabelled:: { en: 'more.txt' } }
{
  options+:: ['unlabelled', 'unlabelled_reader'],
  // The files of each language; languages may be among them that have no tagged ones.
  unlabelled:: error "set `unlabelled`, for instance  unlabelled:: { en: 'more.txt' }",
  unlabelled_reader:: { type: 'structkd_plain_text' },

  local tagged = super.dataset_reader,
  dataset_reader: {
    type: 'structkd_mixture',
    readers: {
      // Of a mixture's parts none has indexers.
      labelled: { [name]: tagged[name] for name in std.objectFields(tagged) if name != 'token_indexers' },
      unlabelled: $.unlabelled_reader,
    },
    // Whatever the files have: a reader that was not told to leave the tags out must not make these gold sentences.
    untagged: ['unlabelled'],
    token_indexers: tagged.token_indexers,
  },
  validation_dataset_reader: super.dataset_reader { shard: false, sampling:: null },
  train_data_path: local labelled = super.train_data_path; { labelled: labelled, unlabelled: $.unlabelled },
}
