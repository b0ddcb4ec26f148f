/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in every program that chooses backends. */
#pragma once

#include "config.h"

/* Numbers, for they decide what is done with few packets: no program is worth loading twice for that. */
CONFIG(__u8, reject_without_backend, 1, "1: answer with an ICMP error when a service has no backend; 0: only drop");
CONFIG(__u8, external_cluster_ip, 0, "1: clients from outside may use cluster addresses");
CONFIG(__u32, maglev_table_size, 16381, "Entries of a frontend's Maglev table: a prime");
