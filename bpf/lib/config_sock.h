/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in the programs of the node's sockets. */
#pragma once

#include "config.h"

CONFIG(__u64, host_netns_cookie, 0, "Cookie of the node's own network namespace: loopback is its node ports' only there");
