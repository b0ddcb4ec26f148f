/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in the programs of one of the node's own devices. */
#pragma once

#include "config_subject.h"

CONFIG(__u32, device_ifindex, 0, "Interface index of the device that the programs are attached to");
CONFIG(bool, host_firewall, false, "Judge what the device brings for the node and takes from it, as the policy of an endpoint");
