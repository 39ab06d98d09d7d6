r"""Figure 9: training curves of the encoders, pool of 10, maximum length 5.

python scripts/figure9_encoders.py --out=runs/figure9 [--seeds=3] \
  [--iterations=100] [--markets=csi300,sp500] [--base=best]

Resumable: a finished run is not repeated.
"""

import learning_curves
from absl import app

ENCODERS = ('tree_lstm', 'lstm', 'cnn', 'transformer')
VARIANTS = {name: (f'network.encoder={name}',) for name in ENCODERS}

if __name__ == '__main__':
  app.run(lambda _: learning_curves.draw('figure9', VARIANTS))
