#!/bin/sh
# tbot of a simulated host: it says a version and does nothing.
case ${1-} in
version) echo 'Teleport v17.2.7 git:fleetsim go1.23.5' ;;
*) echo 'fleetsim: this tbot is simulated' >&2; exit 1 ;;
esac
