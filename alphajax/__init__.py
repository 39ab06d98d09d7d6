"""alphajax: JAX-native discovery of formulaic alpha factors."""
