select customer_id, name, country_name, coalesce(orders, 0) as orders, coalesce(amount, 0) as amount
from {{ ref('stg_customers') }}
join {{ ref('countries') }} on country = code
left join {{ ref('int_customer_orders') }} using (customer_id)
order by customer_id
