#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# remount.sh WORK - remounts the target of the run whose work folder is WORK
set -Eeuo pipefail
# shellcheck source=test.sh
. "$(dirname "${BASH_SOURCE[0]}")/test.sh"
# shellcheck disable=SC1091 # written by target_save
. "$1/state"
trap 'echo "remount failed: ${reason:-}" >&2' EXIT
target_remount '' # no options
trap - EXIT
