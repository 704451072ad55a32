select order_id, customer_id, {{ euros('cents') }} as amount, ordered_at from {{ source('glacier', 'orders') }}
