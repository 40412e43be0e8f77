#!/bin/sh
# The local node as Ape starts it, less one option: step tracing keeps a copy of memory for every
# instruction, which for one fraud proof is gigabytes and minutes. Nothing here reads those traces.
for argument do
    shift
    [ "$argument" = "--steps-tracing" ] || set -- "$@" "$argument"
done
exec "$(dirname "$0")/anvil-native" "$@"
