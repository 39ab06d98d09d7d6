"""A panel as a file in our own long format, which `market.load` reads back."""

import io

import numpy as np
import pandas as pd

from alphajax.data.panel import Panel


def to_frame(panel: Panel) -> pd.DataFrame:
  """One row per day and stock that has a close: the features and `member`.

  Days and stocks without any row are lost.
  """
  features = np.asarray(panel.features)
  close = features[panel.feature_names.index('close')]
  day, stock = np.nonzero(np.isfinite(close))
  names = dict(panel.groups)
  columns = {
    'date': np.array(panel.dates, 'datetime64[s]')[day],
    'symbol': pd.Categorical.from_codes(stock, categories=list(panel.symbols)),
  }
  for name, plane in zip(panel.feature_names, features, strict=True):
    column = plane[day, stock]
    if name in names:  # Codes were text: -1 stands for none.
      codes = np.where(np.isfinite(column), column, -1).astype(int)
      column = pd.Categorical.from_codes(codes, categories=list(names[name]))
    columns[name] = column
  columns['member'] = np.asarray(panel.mask)[day, stock]
  return pd.DataFrame(columns)


def to_bytes(panel: Panel) -> bytes:
  """The Parquet file of a panel."""
  out = io.BytesIO()
  to_frame(panel).to_parquet(out, index=False)
  return out.getvalue()
