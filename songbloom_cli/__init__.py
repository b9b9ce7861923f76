"""The command line of songbloom: parse, one library call, show the result."""
