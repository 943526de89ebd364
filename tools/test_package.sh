#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test_package.sh - install a Debian package of Lynx, use it, remove it, look for what it left.
#
#   tools/test_package.sh FILE.deb     exit code 77: it cannot be tried here, and why
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tools/test_package.sh FILE.deb" >&2; exit 2; }
deb=$(realpath "$1")
model=${XDG_CACHE_HOME:-$HOME/.cache}/lynx/models/smollm2-135m-q8_0.gguf

skip() {
    echo "test_package: skipped: $*"
    exit 77
}

die() {
    echo "test_package: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || skip "installing packages needs root"
command -v apt-get >/dev/null || skip "this is not a Debian system"
[ -f "$model" ] || skip "$model is not there; run 'make models'"
! dpkg-query -W -f='${db:Status-Status}' lynx-kv 2>/dev/null | grep -qx installed ||
    skip "lynx-kv is installed already"
! getent passwd lynx >/dev/null || skip "there is a user lynx already"

work=$(mktemp -d)
node=
finish() {
    [ -z "$node" ] || kill -9 "$node" 2>/dev/null || true
    dpkg -P lynx-kv >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

traces() { # of the package, on this machine
    find / \( -path /proc -o -path /sys -o -path "$work" -o -path /run \) -prune -o \
        \( -path '/etc/lynx*' -o -path '/usr/*/lynx*' -o -path '/usr/*/liblynx*' \
        -o -path '/usr/*lynxd*' -o -path '/var/lib/lynx*' -o -path '/var/cache/lynx*' \) -print |
        grep -v -e '^/usr/share/mime' -e '^/usr/src' || true
}

traces >"$work/before"
apt-get -qq install -y --no-install-recommends "$deb" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; die "it cannot be installed"; }

# As a user who has no build of ours: neither its environment nor ~/.cache of libllama.
clean() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work" XDG_CACHE_HOME="$work/cache" "$@"; }
clean lynx --version | grep -q '^lynx [0-9]' || die "lynx --version"
clean lynxd --version | grep -q '^lynxd [0-9]' || die "lynxd --version"
for program in /usr/bin/lynx /usr/bin/lynxd; do
    ! ldd "$program" | grep -E 'not found|/\.cache/|/build/' || die "$program needs what it may not"
    ldd "$program" | grep -q '=> /usr/.*lib/lynx/libllama' || die "$program has another libllama"
done
clean lynx run -m "$model" --local -t 1 -p 'One two three' -n 4 --json >"$work/local.json" ||
    die "lynx run --local"
python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["tokens"]) > 0' \
    "$work/local.json" || die "lynx run --local gave no tokens"

# A node as the unit runs it: its user, its file, its keys.
getent passwd lynx >/dev/null || die "there is no user lynx"
[ "$(stat -c %U:%a /etc/lynx/keys)" = lynx:700 ] || die "/etc/lynx/keys is open"
cp "$model" /var/lib/lynx/models/model.gguf
chown lynx: /var/lib/lynx/models/model.gguf
cp /etc/lynx/lynxd.ini "$work/settings"
clean lynxd --check-config /etc/lynx/lynxd.ini | grep -q ': in order$' || die "settings"
chmod 755 "$work"
install -d -o lynx -g lynx /var/cache/lynx "$work/port"
(cd / && exec setpriv --reuid lynx --regid lynx --init-groups env -i PATH=/usr/bin \
    XDG_CACHE_HOME=/var/cache lynxd prefill --config /etc/lynx/lynxd.ini -t 1 \
    --listen 127.0.0.1:0 --port-file "$work/port/file") 2>"$work/node.log" &
node=$!
for _ in $(seq 600); do
    [ ! -s "$work/port/file" ] || break
    kill -0 "$node" 2>/dev/null || break
    sleep 0.1
done
[ -s "$work/port/file" ] || { cat "$work/node.log" >&2; die "lynxd prefill did not start"; }
clean lynx run -m "$model" --prefill "127.0.0.1:$(cat "$work/port/file")" -t 1 \
    -p 'One two three' -n 4 --on-loss fail --json >"$work/remote.json" || die "lynx run --prefill"
kill -TERM "$node"
wait "$node" || die "lynxd prefill ended with $?"
node=

! command -v systemd-analyze >/dev/null ||
    systemd-analyze verify /usr/lib/systemd/system/lynxd-*.service >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; die "systemd does not like the units"; }
for page in man1/lynx.1 man8/lynxd.8 man5/lynxd.ini.5; do
    [ -s "/usr/share/man/$page" ] || [ -s "/usr/share/man/$page.gz" ] || die "no page $page"
done

# Settings and what was put in its folders outlive removal, and keys and models purging.
echo '; mine' >>/etc/lynx/lynxd.ini
dpkg -r lynx-kv >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it cannot be removed"; }
grep -q '^; mine' /etc/lynx/lynxd.ini || die "removing took the settings"
[ ! -e /usr/bin/lynx ] || die "removing left the programs"
dpkg -P lynx-kv >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it cannot be purged"; }
[ -f /var/lib/lynx/models/model.gguf ] || die "purging took a model"
getent passwd lynx >/dev/null || die "purging took the owner of a model"

# A second time, and nobody put anything there.
rm /var/lib/lynx/models/model.gguf
apt-get -qq install -y --no-install-recommends "$deb" >"$work/log" 2>&1 || die "the second time"
dpkg -P lynx-kv >"$work/log" 2>&1 || { cat "$work/log" >&2; die "it cannot be purged"; }
traces >"$work/after"
diff "$work/before" "$work/after" >&2 || die "purging left these"
! getent passwd lynx >/dev/null || die "purging left the user"
echo "test_package: $(basename "$deb") installs, runs and leaves nothing behind"
