r"""Figure 4: training curves of the languages, pool of 10, maximum length 5.

python scripts/figure4_languages.py --out=runs/figure4 [--seeds=3] \
  [--iterations=100] [--markets=csi300,sp500] [--base=best]

RPN cannot be read by the Tree-LSTM and takes the LSTM; `sem_k_lstm` is beside
it, so that language and encoder can be told apart. Every run has the warm-up
of the longest look-back among them. Resumable: a finished run is not repeated.
"""

import learning_curves
from absl import app

SAME = 'lookback=200'  # Each language's own would cut the train span anew.
VARIANTS = {
  'sem_k': (SAME,),
  'sem': (SAME, 'language.name=sem'),
  'syn': (SAME, 'language.name=syn'),
  # Six tokens, since a formula of alpha-Sem-k with K = 5 has six symbols.
  'rpn': (
    SAME, 'language.name=rpn', 'language.max_length=6', 'network.encoder=lstm',
  ),
  'sem_k_lstm': (SAME, 'network.encoder=lstm'),
}  # fmt: skip

if __name__ == '__main__':
  learning_curves.define_flags()
  app.run(lambda _: learning_curves.draw('figure4', VARIANTS))
