DROP VIEW run_stats_daily;

DROP VIEW run_stats;
