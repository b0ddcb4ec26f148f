/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is embedded in every program that chooses backends. */
#pragma once

#include "config.h"

CONFIG(__u32, maglev_table_size, 16381, "Entries of a frontend's Maglev table: a prime");
