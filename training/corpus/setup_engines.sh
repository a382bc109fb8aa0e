#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs the speech engines and the orchestra of training/corpus on Debian 12; run as root. Engines from Debian's non-free section
# are unpacked into $SPEECH_ROOT (default /opt/speech-root) instead of being installed.
set -eu
root=${SPEECH_ROOT:-/opt/speech-root}
apt=$root/.apt
here=$(cd "$(dirname "$0")" && pwd)

apt-get update -q
apt-get install -y -q --no-install-recommends gcc libc6-dev libpopt0 flite festival festlex-cmu festlex-poslex \
    festvox-kdlpc16k espeak-ng libespeak-ng1 fluidsynth fluid-soundfont-gm \
    fortunes-de fortunes-es fortunes-it fortunes-ru fortunes-br

mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
sed 's/^Components: .*/Components: main contrib non-free/' /etc/apt/sources.list.d/debian.sources >"$apt/nonfree.sources"
options="-o Dir::Etc::sourcelist=$apt/nonfree.sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$apt/lists
    -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
# shellcheck disable=SC2086  # the options are words
apt-get $options update -q
cd "$apt/debs"
# shellcheck disable=SC2086
apt-get $options download rhvoice rhvoice-english rhvoice-russian rhvoice-ukrainian rhvoice-brazilian-portuguese \
    rhvoice-esperanto librhvoice-audio2 librhvoice-core7 librhvoice5 libao4 libao-common libportaudio2 libjack-jackd2-0 \
    libttspico-data libttspico-utils libttspico0
# MBROLA is for training.evaluate alone
# shellcheck disable=SC2086
apt-get $options download mbrola mbrola-us1 mbrola-us2 mbrola-de5 mbrola-de6 mbrola-es1 mbrola-es3 mbrola-fr1 mbrola-fr4 \
    mbrola-it3 mbrola-it4
for package in *.deb; do dpkg -x "$package" "$root"; done
# these programs look for their data under fixed paths
ln -sfn "$root/usr/share/RHVoice" /usr/share/RHVoice
ln -sfn "$root/etc/RHVoice" /etc/RHVoice
ln -sfn "$root/usr/share/pico" /usr/share/pico
[ -d /usr/share/mbrola ] || ln -s "$root/usr/share/mbrola" /usr/share/mbrola
[ -x /usr/bin/mbrola ] || ln -s "$root/usr/bin/mbrola" /usr/bin/mbrola
gcc -O2 -shared -fPIC -o "$root/htslabels.so" "$here/htslabels.c" -ldl
echo "Speech engines are ready."
