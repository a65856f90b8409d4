#!/bin/bash
# Boot the Debian tree $1 under its own systemd, as PID 1 of namespaces of its own, in the cgroup $2, and stay in the
# foreground. Needs root. Killing this process kills everything in the tree.
set -eu
tree=$1
mkdir "$2"
echo $$ >"$2/cgroup.procs"
export tree
exec unshare --pid --mount --ipc --uts --net --cgroup --fork --kill-child bash -eu -c '
    mount --make-rprivate /
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount --bind "$tree/proc/sys" "$tree/proc/sys"
    mount -o remount,bind,ro "$tree/proc/sys"
    mount -t sysfs sysfs "$tree/sys"
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$tree/run"
    mount -t tmpfs -o mode=755,nosuid tmpfs "$tree/dev"
    for node in null zero full random urandom tty; do
        touch "$tree/dev/$node"
        mount --bind "/dev/$node" "$tree/dev/$node"
    done
    mkdir -p "$tree/run/lock" "$tree/dev/pts" "$tree/dev/shm" "$tree/oldroot"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$tree/dev/pts"
    ln -s pts/ptmx "$tree/dev/ptmx"
    ln -s /proc/self/fd "$tree/dev/fd"
    mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
    mount -t cgroup2 cgroup2 "$tree/sys/fs/cgroup"
    ip link set lo up 2>/dev/null || true
    cd "$tree"
    pivot_root . oldroot
    umount -l /oldroot
    # LoadCredential= needs shared propagation, as under systemd-nspawn
    mount --make-rshared /
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_LOG_TARGET=journal /lib/systemd/systemd --system --unit=multi-user.target
'
