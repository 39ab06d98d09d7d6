"""A language of every operator, for tests of what lies beyond the paper's."""

from alphajax.language import environment, vocab

FEATURES = (*vocab.FEATURES, 'industry')
OPTIONS = {
  'operators': tuple(vocab.OPERATORS),
  'features': FEATURES,
  'constants': (-0.1, 0.01, 0.2, 0.8),
  'windows': (5, 20),
}


def make(name='sem_k', max_length=10, **options):
  return environment.make(name, max_length=max_length, **OPTIONS | options)
