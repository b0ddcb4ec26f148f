/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in programs that ask a policy: whose it is. */
#pragma once

#include "config.h"

CONFIG(__u16, endpoint_id, 0, "Number of the endpoint, unique on its node");
CONFIG(__u32, endpoint_identity, 0, "Security identity of the endpoint");
CONFIG(bool, audit_mode, false, "Forward and report what policy would have dropped");
