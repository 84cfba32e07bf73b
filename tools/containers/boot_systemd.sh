#!/bin/bash
# Boots a machine with systemd in a podman container and installs a fleet in it as a new user would: without a network,
# from a folder of wheels. Needs root, podman, runc, debootstrap. In the checkout: boot_systemd.sh WHEELS [WORK]
set -euo pipefail
WHEELS=$(realpath "$1")
WORK=$(realpath -m "${2:-build/boot}")
IMAGE=localhost/segue-boot:bookworm
NAME=segue-boot-$$

skip() { echo "skipped: $1"; exit 0; }
command -v debootstrap > /dev/null || skip "debootstrap is missing: apt-get install debootstrap"
VARIABLES=$(.venv/bin/python -m tools.containers.container_engine "$WORK" 2>&1) || { echo "$VARIABLES"; exit 0; }
eval "$VARIABLES"

if ! podman image exists $IMAGE; then
    echo "making the base image (a minute)"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,python3-venv,mosquitto,ca-certificates \
        bookworm "$WORK/rootfs" ${MIRROR:-} > "$WORK/debootstrap.log" 2>&1 || { tail "$WORK/debootstrap.log"; exit 1; }
    tar -C "$WORK/rootfs" --exclude='./var/cache/apt/*' --exclude='./usr/share/doc/*' --exclude='./dev/*' --numeric-owner -cf - . |
        podman import --change 'CMD ["/sbin/init"]' --change 'STOPSIGNAL SIGRTMIN+3' - $IMAGE > "$WORK/import.log" 2>&1
    rm -rf "$WORK/rootfs"
fi

trap 'podman rm -f -t 5 $NAME > /dev/null 2>&1 || true' EXIT
podman run -d --name "$NAME" --systemd=always --network none -v "$WHEELS":/wheels:ro $IMAGE > /dev/null 2> "$WORK/run.log" ||
    { cat "$WORK/run.log"; exit 1; }

in_it() { podman exec "$NAME" "$@" 2> >(grep -v 'failed to connect to syslog' >&2 || true); }
segue() { in_it env SEGUE_BROKER=/etc/segue/fleet/accounts/operator.json /opt/segue/bin/segue "$@"; }
property() { in_it systemctl show -P "$2" "segue-$1.service"; }
fail() { echo "FAILED: $1"; in_it journalctl --no-pager -n 40 || true; exit 1; }
# until SECONDS WHAT COMMAND...
until_true() {
    local limit=$1 what=$2 begun=$SECONDS
    shift 2
    while ! "$@" > /dev/null 2>&1; do
        [ $((SECONDS - begun)) -lt "$limit" ] || fail "$what: not within $limit s"
        sleep 0.3
    done
    echo "$what: $((SECONDS - begun)) s"
}
restarted() { [ "$(property "$1" NRestarts)" -ge "$2" ] && [ "$(property "$1" ActiveState)" = active ]; }
is_healthy() { [ "$(segue health | grep -c ': ready')" = 4 ]; }
is_clean() { ! segue doctor --listen-s 3 --json | grep -q '"level": "bad"'; }

until_true 60 "systemd is up" in_it systemctl is-system-running
in_it systemctl disable --quiet --now mosquitto 2> /dev/null || true
in_it python3 -m venv /opt/segue
in_it /opt/segue/bin/pip install -q --no-index --find-links /wheels 'segue[planner,collector,executor,monitor]'
echo "installed from the folder of wheels, without a network"

segue fleet init /etc/segue/fleet --host 127.0.0.1 > /dev/null
segue fleet install --fleet /etc/segue/fleet
segue fleet add-device camera --fleet /etc/segue/fleet --out /root/camera.txt
segue device join /root/camera.txt
segue device install
until_true 60 "the fleet is without fault" is_clean
until_true 10 "four services are healthy" is_healthy

PHOTO=$(in_it /opt/segue/bin/python -c 'from importlib.resources import files; print(files("services.cli.data") / "photos" / "coffee.jpg")')
MODEL=$(in_it /opt/segue/bin/python -c 'from importlib.resources import files; print(files("services.cli.data") / "squeezenet1.1.onnx")')
segue fleet add-stream door --source camera --fleet /etc/segue/fleet
segue model add "$MODEL" --name squeezenet
segue stream add door --model squeezenet --source camera --wait
segue submit "$PHOTO" --stream door --timeout-s 30

for role in planner collector executor monitor broker; do
    in_it systemctl kill --signal=KILL "segue-$role.service"
    until_true 30 "$role is back after SIGKILL" restarted $role 1
done
segue submit "$PHOTO" --stream door --timeout-s 60 > /dev/null && echo "a photograph is answered after all of it"

for role in executor monitor planner collector; do
    in_it mkdir -p "/etc/systemd/system/segue-$role.service.d"
    in_it sh -c "printf '[Service]\nWatchdogSec=8\n' > /etc/systemd/system/segue-$role.service.d/test.conf"
done
in_it systemctl daemon-reload
for role in executor monitor planner collector; do
    in_it systemctl restart "segue-$role.service"
    in_it systemctl kill --signal=STOP --kill-whom=main "segue-$role.service"
    until_true 40 "$role is back after it has hung" restarted $role 1
    in_it rm "/etc/systemd/system/segue-$role.service.d/test.conf"
done
in_it systemctl daemon-reload
until_true 60 "four services are healthy again" is_healthy

second=$(in_it sh -c 'grep ExecStart= /etc/systemd/system/segue-monitor.service | cut -d= -f2-')
in_it systemd-run --quiet --collect --wait --unit=second -p LoadCredential=account.json:/root/.local/share/segue/accounts/camera.json \
    -p LoadCredential=account.ca.pem:/root/.local/share/segue/accounts/camera.ca.pem \
    /bin/sh -c "exec ${second//\/var\/lib\/segue\/monitor//tmp}" && fail "a second monitor of the name runs" || [ $? = 2 ] ||
    fail "a second monitor of the name does not end with 2"
echo "a second monitor of the name ends with exit status 2"

for role in executor monitor planner collector broker; do
    begun=$(date +%s%N)
    in_it systemctl stop "segue-$role.service"
    [ "$(property $role Result)" = success ] || fail "$role did not end well: $(property $role Result)"
    echo "$role stops in $(( ($(date +%s%N) - begun) / 1000000 )) ms"
done
in_it systemctl start segue-broker segue-planner segue-collector segue-executor segue-monitor
until_true 60 "the fleet is without fault again" is_clean
segue device uninstall
segue fleet uninstall
[ -z "$(in_it sh -c 'ls /etc/systemd/system/segue-*.service 2> /dev/null')" ] || fail "units are left"
in_it test -d /var/lib/segue/planner || fail "the data is gone"
[ -z "$(in_it systemctl --failed --no-legend)" ] || fail "units have failed"
echo "passed"
