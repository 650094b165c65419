#!/bin/sh
# realm.sh des3|aes: a Kerberos realm in the namespaces that this is called in.
# In the environment: ROOT (unpacked packages), LIBRARIES, SHIM (heimdal.c and late.c,
# built), DOCTOR (the
# binary), DIRECTORY (for everything that is made). Writes NAME.sshd and NAME.ssh for each
# attempt to log in, NAME.look and NAME.status for each look of the doctor.
set -eu

part=$1
cd "$DIRECTORY"
address=10.77.0.1

# The machine: names, accounts, addresses.
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
printf '127.0.0.1 localhost\n%s a.example.org a\n' $address >hosts
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >nsswitch.conf
cat >passwd <<END
root:x:0:0::/root:/bin/sh
sshd:x:110:65534::/run/sshd:/usr/sbin/nologin
alice:x:1234:1234::/tmp:/bin/sh
nobody:x:65534:65534::/:/bin/false
END
printf '%s:*:1::::::\n' root sshd alice >shadow
printf 'root:x:0:\nalice:x:1234:\nnogroup:x:65534:\n' >group
chmod 644 hosts nsswitch.conf passwd group
for file in hosts nsswitch.conf passwd shadow group; do
    mount --bind $file /etc/$file
done
hostname a.example.org
ip addr add $address/24 dev lo

# What both sides agree on.
common="    default_realm = MYREALM
    dns_lookup_kdc = false"
realms="[realms]
    MYREALM = {
        kdc = $address
    }
[domain_realm]
    .example.org = MYREALM"
des3="    allow_des3 = true
    permitted_enctypes = des3-cbc-sha1 aes256-cts-hmac-sha1-96"
[ "$part" = des3 ] || des3=
cat >server.conf <<END
[libdefaults]
$common
$des3
$realms
[dbmodules]
    db_module_dir = $(echo "$ROOT"/usr/lib/*/krb5/plugins/kdb)
[logging]
    kdc = FILE:$DIRECTORY/kdc.messages
END
printf '[libdefaults]\n%s\n%s\n' "$common" "$realms" >client.conf
cat >kdc.conf <<END
[kdcdefaults]
    kdc_listen = $address:88
    kdc_tcp_listen = $address:88
[realms]
    MYREALM = {
        database_name = $DIRECTORY/principal
        key_stash_file = $DIRECTORY/stash
        acl_file = $DIRECTORY/acl
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }
END
cat >sshd_config <<END
ListenAddress $address
HostKey $DIRECTORY/hostkey
PidFile none
UsePAM no
GSSAPIAuthentication yes
PasswordAuthentication no
PubkeyAuthentication no
END

unpacked() {
    program=$1
    shift
    LD_LIBRARY_PATH=$LIBRARIES "$ROOT/usr/$program" "$@"
}
admin() {
    KRB5_CONFIG=server.conf KRB5_KDC_PROFILE=kdc.conf unpacked sbin/kadmin.local -r MYREALM -q "$*" >>admin.log 2>&1
}
started=
finish() {
    for pid in $started; do kill "$pid" 2>/dev/null || true; done
}
trap finish EXIT

# One attempt: sshd takes one connection with -ddd, and ends.
attempt() {
    KRB5_CONFIG=$DIRECTORY/server.conf KRB5_KTNAME=$DIRECTORY/keytab LD_LIBRARY_PATH=$LIBRARIES \
        "$ROOT/usr/sbin/sshd" -ddd -e -f "$DIRECTORY/sshd_config" >"$1.sshd" 2>&1 &
    started="$started $!"
    daemon=$!
    until grep -q 'Server listening' "$1.sshd"; do sleep 0.05; done
    KRB5CCNAME=FILE:$DIRECTORY/cache KRB5_CONFIG=$DIRECTORY/client.conf LD_LIBRARY_PATH=$SHIM:$LIBRARIES \
        timeout 100 "$ROOT/usr/bin/ssh" -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o GSSAPIAuthentication=yes -o PreferredAuthentications=gssapi-with-mic -o LogLevel=ERROR \
        alice@a.example.org true </dev/null >"$1.ssh" 2>&1 || true
    # It has still to write what another of its processes tells it, and ends then.
    (sleep 20 && kill "$daemon") >/dev/null 2>&1 &
    watchdog=$!
    wait "$daemon" || true
    kill "$watchdog" 2>/dev/null || true
}
login() {
    rm -f cache
    KRB5CCNAME=FILE:$DIRECTORY/cache KRB5_CONFIG=$DIRECTORY/client.conf \
        unpacked bin/kinit.heimdal --password-file="$DIRECTORY/password" alice >kinit.log 2>&1
}
look() {
    name=$1
    shift
    status=0
    PATH=$ROOT/usr/bin:$PATH LD_LIBRARY_PATH=$LIBRARIES \
        timeout 100 "$DOCTOR" doctor kerberos "$@" >"$name.look" 2>&1 || status=$?
    echo $status >"$name.status"
}
server="--krb5-config $DIRECTORY/server.conf --keytab $DIRECTORY/keytab --sshd-config $DIRECTORY/sshd_config --library mit"
client="--krb5-config $DIRECTORY/client.conf --keytab /nonexistent --sshd-config /nonexistent --library heimdal-7.8.0"

# The realm.
KRB5_CONFIG=server.conf KRB5_KDC_PROFILE=kdc.conf unpacked sbin/kdb5_util create -s -r MYREALM -P master >admin.log 2>&1
admin addprinc +requires_preauth -pw secret alice
echo secret >password
if [ "$part" = des3 ]; then
    admin addprinc +requires_preauth -randkey -e des3-cbc-sha1:normal host/a.example.org
    admin setstr host/a.example.org session_enctypes des3-cbc-sha1
else
    admin addprinc -randkey host/a.example.org
fi
admin ktadd -norandkey -k "$DIRECTORY/keytab" host/a.example.org
unpacked bin/ssh-keygen -q -t ed25519 -N '' -f hostkey
# The KDC, with a library that is loaded before others, or none.
start_kdc() {
    KRB5_CONFIG=server.conf KRB5_KDC_PROFILE=kdc.conf LD_LIBRARY_PATH=$LIBRARIES LD_PRELOAD=$1 \
        "$ROOT/usr/sbin/krb5kdc" -n -r MYREALM >kdc.log 2>&1 &
    kdc=$!
    started="$started $kdc"
    until grep -q 'starting' kdc.log; do sleep 0.05; done
}
start_kdc ''

# shellcheck disable=SC2086 # options, one word each
case $part in
des3)
    login
    attempt plain
    look server $server -v
    # What Heimdal 0.6 does by itself, a later one does when it is told to.
    printf '[gssapi]\n    broken_des3_mic = host/*@MYREALM\n' >>client.conf
    attempt broken
    look log $server --sshd-log broken.sshd
    look client $client --fix --yes
    attempt mended
    look quiet $client
    ;;
aes)
    printf '[gssapi]\n    broken_des3_mic = host/*@MYREALM\n' >>client.conf
    login
    attempt broken
    look server $server
    admin cpw -randkey host/a.example.org
    look stale $server
    kill $kdc
    wait $kdc || true
    look dead $server
    start_kdc "$SHIM/late.so"
    look late $server
    ;;
esac
