#!/bin/sh
# The first process of a world: mounts, processes, network and cgroups of its own, until its standard
# input is closed. Its cgroup, GROUP below each hierarchy, is the root of what is seen inside.
#
#     sh enter.sh GROUP             joins the group, makes the world
#     sh enter.sh GROUP inside      in the cgroup namespace
set -eu
group=$1
hierarchies() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts
}
if [ $# = 1 ]; then
    for hierarchy in $(hierarchies); do
        mkdir "$hierarchy/$group"
        if [ -e "$hierarchy/$group/cpuset.cpus" ] && [ ! -e "$hierarchy/cgroup.controllers" ]; then
            cat "$hierarchy/cpuset.cpus" >"$hierarchy/$group/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" >"$hierarchy/$group/cpuset.mems"
        fi
        echo $$ >"$hierarchy/$group/cgroup.procs"
    done
    exec unshare --mount --cgroup --net --ipc --uts sh "$0" "$group" inside
fi
# Seen from outside before the mounts below hide it.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # The processes stand in a leaf: v2 has none beside subgroups that have controllers.
    mkdir "/sys/fs/cgroup/$group/init"
    echo $$ >"/sys/fs/cgroup/$group/init/cgroup.procs"
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    tr ' ' '\n' </sys/fs/cgroup/cgroup.controllers | while read -r controller; do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
else
    mounts=$(grep ' /sys/fs/cgroup/' /proc/self/mounts)
    # Not what the machine has there: others make directories beside the hierarchies.
    umount --recursive /sys/fs/cgroup
    mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
    echo "$mounts" | while read -r _ directory kind options _; do
        [ "$kind" = cgroup2 ] && options=
        options=$(echo "$options" | tr , '\n' | grep -vxE 'rw|relatime|nosuid|nodev|noexec' | paste -sd ,)
        mkdir "$directory"
        mount -t "$kind" ${options:+-o "$options"} "$kind" "$directory"
    done
fi
mount -t tmpfs -o mode=755 run /run
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=755 cni /var/lib/cni
ip link set lo up
# catatonit reaps what the engines leave behind; cat ends with the case.
exec unshare --pid --fork --kill-child --mount-proc catatonit -- sh -c 'echo ready; cat >/dev/null'
