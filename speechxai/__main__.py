"""`python -m speechxai` is the command `speechxai`."""

from speechxai.cli import main

main()
