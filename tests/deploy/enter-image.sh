#!/bin/bash
# Run a command in the mounted image $1 as uid 65532 without capabilities, its root read-only, /tmp empty; needs root.
# The environment is what follows up to "--"; the network is the host's. Killing this process kills the command.
set -eu
root=$1
shift
export root
exec unshare --mount --pid --fork --kill-child bash -eu -c '
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --rbind /dev "$root/dev"
    variables=()
    while [ "$1" != "--" ]; do variables+=("$1"); shift; done
    shift
    exec env -i "${variables[@]}" "$(command -v chroot)" --userspec=65532:65532 --groups= "$root" \
        setpriv --no-new-privs --inh-caps=-all "$@"
' enter "$@"
