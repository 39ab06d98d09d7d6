"""`python -m alphajax` is the command `alphajax`."""

from alphajax import cli

if __name__ == '__main__':
  cli.main()
