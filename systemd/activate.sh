#!/usr/bin/env bash
# The second half of `make service`: the installed files take effect. Starts nothing.
set -euo pipefail

systemd-sysusers tandem.conf
systemd-tmpfiles --create tandem.conf
if command -v udevadm >/dev/null && [[ -d /run/udev ]]; then
	udevadm control --reload
	udevadm trigger --subsystem-match=misc --subsystem-match=hidraw --subsystem-match=usb --subsystem-match=tty
fi
if [[ -d /run/systemd/system ]]; then
	systemctl daemon-reload
fi

if ! setpriv --reuid tandem --regid tandem --init-groups /opt/tandem/bin/tandem --help >/dev/null 2>&1; then
	echo "The user tandem cannot run $(readlink /opt/tandem)/bin/tandem:"
	echo "move the checkout to where everybody may read, e.g. /srv/tandem, and repeat there."
	exit 1
fi
cat <<'TEXT'
Installed. For a robot called cell_a:
  sudo cp cell_a.yaml /etc/tandem/             # its configuration, or one of configs/
  sudo systemctl enable --now tandem@cell_a    # it holds, and waits for a task
  journalctl -fu tandem@cell_a
For yourself, once, then log in again:
  sudo usermod -aG tandem "$USER"
  echo export TANDEM_RUNTIME_DIR=/run/tandem | sudo tee /etc/profile.d/tandem.sh
TEXT
