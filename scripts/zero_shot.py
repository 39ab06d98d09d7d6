r"""What a pre-trained network finds on real markets, by formulas evaluated.

python scripts/zero_shot.py --data=../shared/data --workdir=runs/zero_shot
python scripts/zero_shot.py --workdir=runs/zero_shot --table

As `saturation.py`: every search mines 1,000 formulas on each half of the train
days, the probes of AlphaFormer and of retrieval counted; the pools that rules
make of the first so many are judged on the other half and on validation, beside
those of random search with the same screen, the same rule and as many formulas.
"""

import saturation

PLAN = saturation.Plan(
  searches=('random_screen', 'retrieval', 'alphaformer', 'evolution'),
  rules=('elastic_net', 'best_distinct', 'distilled', 'bagged'),
  points=(100, 300, 1000),
  control=('random_screen', ''),
  picture='zero_shot.png',
)

if __name__ == '__main__':
  saturation.start(PLAN, 'runs/zero_shot')
