r"""Figure 9: training curves of the encoders, pool of 10, maximum length 5.

python scripts/figure9_encoders.py --out=runs/figure9 [--seeds=3] \
  [--iterations=100] [--markets=csi300,sp500] [--base=best]

Figure 4's `sem_k` and `sem_k_lstm` are two of the four: with its `--out` they
are not run again. Resumable: a finished run is not repeated.
"""

import learning_curves
from absl import app
from figure4_languages import SAME

VARIANTS = {
  'sem_k': (SAME,),  # The Tree-LSTM.
  'sem_k_lstm': (SAME, 'network.encoder=lstm'),
  'sem_k_cnn': (SAME, 'network.encoder=cnn'),
  'sem_k_transformer': (SAME, 'network.encoder=transformer'),
}

if __name__ == '__main__':
  learning_curves.define_flags()
  app.run(lambda _: learning_curves.draw('figure9', VARIANTS))
