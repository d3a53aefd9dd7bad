-- Reserved; written by its owner.
select 1;
