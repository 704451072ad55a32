select 'dbt-' || '{{ target.type }}' as engine, '{{ var("marker", "none") }}' as marker
