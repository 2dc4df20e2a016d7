"""The scripts: busybox's own tools, and lines that tell what was measured.

A script says ``KEY VALUE...`` a line. Times are seconds of the guest's clock in microseconds' precision, from a
variable of the shell (``EPOCHREALTIME``), so that asking for it starts no program. Where it can be, a program or the
shell itself has the connection as its input and output (``nc -e``): nc alone would carry every kilobyte by hand.
"""

from __future__ import annotations

import shlex

from ...services.content import PERIOD
from ..image.linux import CONTENT

SPARE = 16 << 20
"""Bytes of memory that are not filled with what was fetched."""
ROOM = "/run/aero"
"""Folder for files of a workload, in memory."""

PRELUDE = f"""\
mkdir -p {ROOM} && cd {ROOM} || exit 1
lookup() {{ # NAME TYPE: its address
    case "$1" in *[!0-9.]*) ;; *) echo "$1"; return ;; esac
    case "$1" in *:*) echo "$1"; return ;; esac
    nslookup -type="$2" "$1" 2>/dev/null | sed -n 's/^Address: //p' | head -n 1
}}
fail() {{ echo "failed $*"; exit 1; }}
"""
TAKE = """\
cat >take <<'END'
# so many bytes of the input; by large blocks, because head takes them one by one
dd bs=65536 count=$(($1 / 65536)) iflag=fullblock 2>/dev/null
head -c $(($1 % 65536))
END
"""
STREAM = f"""\
{TAKE}[ -s /{CONTENT} ] || fail "image: no /{CONTENT} in it"
cat >stream <<'END'
left=$1 # bytes of the content, which is said again and again
while [ "$left" -ge {PERIOD} ]; do cat /{CONTENT}; left=$((left - {PERIOD})); done
exec sh take "$left" </{CONTENT}
END
"""
KEEP = f"""\
room() {{ # SIZE: whether so many bytes fit into memory, of which files may have half
    while read -r name kilobytes _; do
        [ "$name" = MemAvailable: ] && {{ [ $((kilobytes * 512 - {SPARE})) -gt "$1" ]; return; }}
    done </proc/meminfo
    false
}}
"""
FETCH = """\
fetch() { # FILE URL SIZE: when it began and ended, wget's status, the digest
    began=$EPOCHREALTIME
    if room "$3"; then # a digest takes longer than a transfer: it comes afterwards where there is room to wait
        wget -q -O "$1.got" --header "Host: $host" "$2"
        echo "status $?"
        echo "took $began $EPOCHREALTIME"
        md5sum <"$1.got" >"$1.out"
        rm -f "$1.got"
        echo digested afterwards
    else
        pipe "$1" "$2" md5sum
        echo digested meanwhile
    fi
    read -r said _ <"$1.out"
    echo "said $said"
}
pipe() { # FILE URL FILTER...: when it began and ended, wget's status; into the file what the filter says
    url=$2 file=$1
    shift 2
    began=$EPOCHREALTIME
    { { wget -q -O - --header "Host: $host" "$url"; echo "status $?" >&3; } | "$@" >"$file.out"; } 3>"$file.status"
    echo "took $began $EPOCHREALTIME"
    cat "$file.status"
}
"""
PUSH = """\
cat >post <<'END'
printf 'POST %s HTTP/1.1\\r\\nHost: %s\\r\\nContent-Length: %s\\r\\n' "$2" "$3" "$4"
printf 'Connection: close\\r\\n\\r\\n'
sh stream "$4"
exec cat >"$1.out"
END
push() { # FILE ADDRESS PORT PATH SIZE: when it began and ended, what was answered
    began=$EPOCHREALTIME
    nc "$2" "$3" -e sh post "$1" "$4" "$host" "$5" 2>"$1.err"
    echo "status $?"
    echo "took $began $EPOCHREALTIME"
    echo "said $(tail -n 1 "$1.out")"
}
"""


def quote(value: object) -> str:
    return shlex.quote(str(value))


def named(host: str, family: int) -> str:
    """Lines that set ``host``, and ``address`` to what the guest's resolver says."""
    kind = "aaaa" if family == 6 else "a"
    return f'host={quote(host)}\naddress=$(lookup "$host" {kind})\n[ -n "$address" ] || fail "dns: $host: no address"\n'


def url(port: int, path: str, family: int) -> str:
    place = '"http://[$address]' if family == 6 else '"http://$address'
    return f'{place}:{port}"{quote(path)}'


def download(host: str, port: int, path: str, family: int, size: int | None) -> str:
    """GET ``path``, digested where its size is known, else counted."""
    place = url(port, path, family)
    if size is None:
        return f"{PRELUDE}{FETCH}{named(host, family)}pipe one {place} wc -c\nread -r said <one.out\necho said $said\n"
    return f"{PRELUDE}{KEEP}{FETCH}{named(host, family)}fetch one {place} {size}\n"


def upload(host: str, port: int, path: str, size: int, family: int) -> str:
    return f'{PRELUDE}{STREAM}{PUSH}{named(host, family)}push one "$address" {port} {quote(path)} {size}\n'


def parallel(host: str, port: int, up: list[bool], size: int, family: int) -> str:
    """A transfer each for the elements of ``up``, all at once."""
    lines = []
    for number, upward in enumerate(up):
        if upward:
            job = f'push f{number} "$address" {port} /upload {size}'
        else:
            job = f"fetch f{number} {url(port, f'/bytes/{size}', family)} {size * up.count(False)}"
        lines.append(f"{job} >f{number}.log &\n")
    prepared = f"{STREAM}{PUSH}" if any(up) else ""
    return f"{PRELUDE}{KEEP}{FETCH}{prepared}{named(host, family)}{''.join(lines)}wait\ncat {_files(len(up))}\n"


def _files(number: int) -> str:
    return " ".join(f"f{each}.log" for each in range(number))


def source(host: str, port: int, size: int, family: int) -> str:
    return f"""{PRELUDE}{KEEP}{TAKE}{named(host, family)}
if room {size}; then
    echo 'sh take "$1" >got' >source
else
    echo 'sh take "$1" | md5sum >out' >source
fi
began=$EPOCHREALTIME
nc "$address" {port} -e sh source {size}
echo "took $began $EPOCHREALTIME"
[ ! -e got ] || {{ md5sum <got >out; rm -f got; }}
read -r said _ <out
echo "said $said"
"""


def pour(host: str, port: int, size: int) -> str:
    """``size`` bytes from an endless source, and nothing done with them."""
    return f"""{PRELUDE}{TAKE}{named(host, 4)}
echo 'exec sh take "$1" >/dev/null' >pour
began=$EPOCHREALTIME
nc "$address" {port} -e sh pour {size}
echo "took $began $EPOCHREALTIME"
"""


def sink(host: str, port: int, size: int, family: int) -> str:
    # The program has ended when all is written, not when all has arrived: the kernel's table tells when both ends have
    # said that nothing more comes (ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2 are over).
    table = "/proc/net/tcp6" if family == 6 else "/proc/net/tcp"
    return f"""{PRELUDE}{STREAM}{named(host, family)}
open() {{
    while read -r _ _ there state _; do
        case "$there $state" in *:{port:04X}" "0[145]) return ;; esac
    done <{table}
    false
}}
began=$EPOCHREALTIME
nc "$address" {port} -e sh stream {size} 2>err
echo "status $?"
while open; do sleep 0.01; done
echo "took $began $EPOCHREALTIME"
"""


def request_response(host: str, port: int, count: int, size: int, family: int) -> str:
    """``count`` lines of ``size`` bytes there and back, each waiting for the one before."""
    return f"""{PRELUDE}{named(host, family)}
cat >exchange <<'END'
request=$(head -c {size - 1} /dev/zero | tr '\\0' x)
wrong=0 number=0 times=
while [ "$number" -lt {count} ]; do
    began=$EPOCHREALTIME
    echo "$request"
    read -r got || break
    ended=$EPOCHREALTIME
    [ "$got" = "$request" ] || wrong=$((wrong + 1))
    times="$times $began $ended"
    number=$((number + 1))
done
exec >out
echo "wrong $wrong"
echo "times$times"
END
rm -f out
opened=$EPOCHREALTIME
nc "$address" {port} -e sh exchange
echo "took $opened $EPOCHREALTIME"
cat out
"""


def burst(host: str, port: int, count: int, concurrency: int, size: int, family: int) -> str:
    """``count`` connections, ``concurrency`` workers taking turns."""
    return f"""{PRELUDE}{named(host, family)}
request=$(head -c {max(size - 1, 0)} /dev/zero | tr '\\0' x)
{'echo "$request" >request' if size else ": >request"}
worker() {{ # NUMBER: every so manieth connection
    good=0 wrong=0 failed=0 number=$1
    while [ "$number" -lt {count} ]; do
        if nc "$address" {port} <request >"got$1" 2>/dev/null; then
            read -r got <"got$1" || got=
            if [ "$got" = "$request" ]; then good=$((good + 1)); else wrong=$((wrong + 1)); fi
        else
            failed=$((failed + 1))
        fi
        number=$((number + {concurrency}))
    done
    echo "worker $good $wrong $failed" >"worker$1"
}}
rm -f worker*
began=$EPOCHREALTIME
number=0
while [ "$number" -lt {concurrency} ]; do
    worker "$number" &
    number=$((number + 1))
done
wait
echo "took $began $EPOCHREALTIME"
cat worker*
"""


def ping(host: str | None, count: int, size: int, interval: float, timeout: float, family: int) -> str:
    route = "ip -6 route" if family == 6 else "ip route"
    if host is None:
        target = f"""address=$({route} | sed -n 's/^default via \\([^ ]*\\) .*/\\1/p' | head -n 1)
[ -n "$address" ] || fail "unreachable: no router"
case "$address" in fe80:*) address="$address%eth0" ;; esac
"""
    else:
        target = named(host, family)
    return f"""{PRELUDE}{target}
began=$EPOCHREALTIME
ping -{family} -c {count} -s {size} -i {interval:g} -W {max(round(timeout), 1)} "$address"
echo "took $began $EPOCHREALTIME"
"""


def dns(names: list[str], family: int) -> str:
    kind = "aaaa" if family == 6 else "a"
    return f"""{PRELUDE}
began=$EPOCHREALTIME
for name in {" ".join(map(quote, names))}; do
    address=$(lookup "$name" {kind})
    echo "lookup $EPOCHREALTIME $address"
done
echo "took $began $EPOCHREALTIME"
"""
